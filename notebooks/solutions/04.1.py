# stub:
# import httpx
# end

second = restate.Service("OpinionAgent")
failures = iter([ConnectionError("the disk is full")] * 2)


async def write_down(opinion: str) -> str:
    for failure in failures:
        raise failure
    return opinion


@second.handler("run")
async def second_opinion(ctx: restate.Context, claim: InsuranceClaim) -> str:
    # stub:
    # # TODO: call the agent through Restate, not over HTTP.
    # async with httpx.AsyncClient() as http:
    #     address = f"{tour.server.ingress}/EligibilityAgent/run"
    #     opinion = (await http.post(address, json=claim.model_dump(by_alias=True))).json()
    opinion = await ctx.service_call(run_eligibility_agent, claim)
    # end
    quick = restate.RunOptions[str](initial_retry_interval=timedelta(milliseconds=50))
    return await ctx.run_typed("write down", write_down, quick, opinion)
