sources = restate.Service("SourceAgent")
letters = restate.Service("LetterAgent")


@sources.handler("run")
async def source_run(ctx: restate.Context, topic: str) -> str:
    if topic == "secrets":
        raise restate.TerminalError("this is not for the public", 403)
    return await ctx.run_typed("Search", search, topic=topic)


@letters.handler("run")
async def letter_run(ctx: restate.Context, topics: list[str]) -> list[str]:
    calls = [ctx.service_call(source_run, topic) for topic in topics]
    await restate.gather(*calls)
    # stub:
    # # TODO: who fails for good loses his own line of the letter, and no other.
    # try:
    #     return [await call for call in calls]
    # except restate.TerminalError:
    #     return []
    lines = []
    for topic, call in zip(topics, calls, strict=True):
        try:
            lines.append(await call)
        except restate.TerminalError as error:
            lines.append(f"Nothing on {topic}: {error.message}.")
    return lines
    # end
