patience = restate.Workflow("SlowAnswerAgent", inactivity_timeout=SOON)


@patience.main("run")
async def think(ctx: restate.WorkflowContext, question: Question) -> str:
    await ctx.sleep(timedelta(seconds=0.5), name="think")
    await ctx.promise("agent_response", type_hint=str).resolve("It is done.")
    return "It is done."


@patience.handler()
async def status(ctx: restate.WorkflowSharedContext) -> str:
    # stub:
    # # TODO: look at the promise `agent_response`, and do not wait for it.
    # return "no idea"
    answer = await ctx.promise("agent_response", type_hint=str).peek()
    return f"ready: {answer}" if answer else "still at work"
    # end
