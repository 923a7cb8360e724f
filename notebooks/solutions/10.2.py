pickup = restate.Service("PickupAgent", inactivity_timeout=timedelta(0))


async def book_pickup(code: str) -> str:
    return code  # in your project: a request to the carrier


@pickup.handler("run")
async def pickup_run(ctx: restate.Context, question: Question) -> dict[str, str]:
    # stub:
    # # TODO: one code, however often the handler begins again.
    # code = os.urandom(4).hex()
    code = ctx.uuid().hex[:8]
    # end
    booked = await ctx.run_typed("Book pickup", book_pickup, code=code)
    return {"booked": booked, "told": code}
