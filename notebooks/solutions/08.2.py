alarm = restate.VirtualObject("AlarmAgent")


@alarm.handler("set")
async def alarm_set(ctx: restate.ObjectContext, seconds: float) -> str:
    # stub:
    # # TODO: an alarm that is set must not be set a second time.
    if await ctx.get("is_set", type_hint=bool):
        return "It is set already."
    ctx.set("is_set", True)
    # end
    ctx.object_send(alarm_ring, ctx.key(), None, send_delay=timedelta(seconds=seconds))
    return "It is set."


@alarm.handler("ring")
async def alarm_ring(ctx: restate.ObjectContext) -> str:
    # stub:
    # # TODO: once it has rung it can be set again.
    ctx.clear("is_set")
    # end
    return "Good morning."
