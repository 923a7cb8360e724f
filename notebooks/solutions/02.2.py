hurried = restate.Service("HurriedAgent", inactivity_timeout=SOON)


@hurried.handler("run")
async def hurried_run(ctx: restate.Context, request: ClaimPrompt) -> str:
    message = f"Please review: {request.prompt}"
    mailed, answer = ctx.awakeable(type_hint=bool)
    await ctx.run_typed(
        "request-review", request_human_review, message=message, awakeable_id=mailed
    )
    # stub:
    # # TODO: wait for 300 milliseconds at most, then return "escalated".
    # return "approved" if await answer else "rejected"
    patience = ctx.sleep(timedelta(milliseconds=300), name="sla")
    match await restate.select(approval=answer, timeout=patience):
        case ["approval", approved]:
            return "approved" if approved else "rejected"
        case _:
            return "escalated"
    # end
