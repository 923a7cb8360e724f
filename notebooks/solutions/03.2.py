trimmed = restate.VirtualObject("TrimmedAgent")


@trimmed.handler("message")
async def trimmed_message(ctx: restate.ObjectContext, request: ChatMessage) -> dict[str, str]:
    history = await ctx.get("messages", type_hint=History) or []
    asked = {"role": "user", "content": request.message}
    messages = [SYSTEM, *history, asked]
    reply = await ctx.run_typed("LLM call", ask_model, THREE_TRIES, messages=messages)
    # stub:
    # # TODO: keep the last six messages and no more.
    # ctx.set("messages", [*history, asked, reply])
    ctx.set("messages", [*history, asked, reply][-6:])
    # end
    return answer_of(reply)
