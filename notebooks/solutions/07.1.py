clerk = restate.Service("ClerkAgent")


@clerk.handler("run")
async def clerk_run(ctx: restate.Context, request: ClaimPrompt) -> str:
    # stub:
    # # TODO: if it does not fit, ask once more, in a step of its own. After that, say so.
    # try:
    #     claim = await ask_for(ctx, "Parse claim", Claim, PARSE, request.prompt)
    # except restate.TerminalError:
    #     return ""
    # return f"{claim.amount:g} {claim.currency}"
    for step in ("Parse claim", "Parse claim again"):
        try:
            claim = await ask_for(ctx, step, Claim, PARSE, request.prompt)
        except restate.TerminalError as error:
            if error.status_code != 422:
                raise
        else:
            return f"{claim.amount:g} {claim.currency}"
    return "We could not read your claim. Which amount is it, and in which currency?"
    # end
