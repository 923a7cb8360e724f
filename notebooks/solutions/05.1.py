trip = restate.Service("TripAgent")
STOPS = ["San Francisco", "Oslo", "New York"]


@trip.handler("run")
async def trip_run(ctx: restate.Context) -> list[str]:
    # stub:
    # # TODO: start all three, then wait.
    # return [await ctx.run_typed(f"Get weather {c}", fetch_weather, city=c) for c in STOPS]
    reports = [ctx.run_typed(f"Get weather {c}", fetch_weather, city=c) for c in STOPS]
    await restate.gather(*reports)
    return [await report for report in reports]
    # end
