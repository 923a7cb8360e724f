trips = restate.Service("PackageTripAgent")


@trips.handler("run")
async def trip_run(ctx: restate.Context, request: BookingPrompt) -> str:
    undo = []
    try:
        for kind in ("hotel", "car", "flight"):
            trip = {"booking_id": request.booking_id, "kind": kind, "destination": "SFO"}
            # stub:
            # # TODO: a booking that fails may have happened all the same. Be ready to undo it.
            # await ctx.run_typed(f"Book {kind}", reserve, **trip)
            # undo.append(trip)
            undo.append(trip)
            await ctx.run_typed(f"Book {kind}", reserve, **trip)
            # end
    except restate.TerminalError as error:
        # stub:
        # # TODO: the newest first, each in a step of its own: "Cancel flight", "Cancel car", …
        # for trip in undo:
        #     await cancel(**trip)
        for trip in reversed(undo):
            await ctx.run_typed(f"Cancel {trip['kind']}", cancel, **trip)
        # end
        return f"Nothing is booked. {error.message}"
    return "All is booked."
