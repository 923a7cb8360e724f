steady = restate.VirtualObject("SteadySdkAgent")


@steady.handler("message")
async def steady_message(ctx: restate.ObjectContext, request: ChatMessage) -> str:
    # stub:
    # # TODO: let a turn that fails leave nothing behind.
    # result = await DurableRunner.run(
    #     chat_agent, request.message, run_options=THREE_TRIES, use_restate_session=True
    # )
    history = await ctx.get("items", type_hint=History) or []
    items = [*history, {"role": "user", "content": request.message}]
    result = await DurableRunner.run(chat_agent, items, run_options=THREE_TRIES)
    ctx.set("items", result.to_input_list())
    # end
    return str(result.final_output)
