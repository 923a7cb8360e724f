nap = restate.Service("NapAgent", inactivity_timeout=SOON)


@nap.handler("run")
async def nap_run(ctx: restate.Context, topic: Topic) -> str:
    messages = [{"role": "user", "content": topic.prompt}]
    messages.append(await ctx.run_typed("LLM call", ask_model, THREE_TRIES, messages=messages))
    # stub:
    # # TODO: let Restate keep this pause, under the name "nap".
    # await asyncio.sleep(0.5)
    await ctx.sleep(timedelta(seconds=0.5), name="nap")
    # end
    messages.append({"role": "user", "content": "What did I say first?"})
    reply = await ctx.run_typed("LLM call", ask_model, THREE_TRIES, messages=messages)
    return str(reply.get("content", ""))
