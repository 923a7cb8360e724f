four_eyes = restate.Service("FourEyesAgent", inactivity_timeout=SOON)


@four_eyes.handler("run")
async def four_eyes_run(ctx: restate.Context, request: ClaimPrompt) -> bool:
    message = f"Please review: {request.prompt}"
    id_1, first = ctx.awakeable(type_hint=bool)
    id_2, second = ctx.awakeable(type_hint=bool)
    # stub:
    # # TODO: each mail goes once, and a claim is paid when both reviewers say yes.
    # await request_human_review(message, id_1)
    # await request_human_review(message, id_2)
    # return any([await first, await second])
    await ctx.run_typed("request-review", request_human_review, message=message, awakeable_id=id_1)
    await ctx.run_typed("request-review", request_human_review, message=message, awakeable_id=id_2)
    return all([await first, await second])
    # end
