usage = restate.VirtualObject("UsageAgent")
# stub:
# turns_of: dict[str, int] = {}
# end


@usage.handler("message")
async def usage_message(ctx: restate.ObjectContext, request: ChatMessage) -> dict[str, Any]:
    messages = [SYSTEM, {"role": "user", "content": request.message}]
    reply = await ctx.run_typed("LLM call", ask_model, THREE_TRIES, messages=messages)
    # stub:
    # # TODO: keep the count in the object's state, under the name "turns".
    # turns = turns_of[ctx.key()] = turns_of.get(ctx.key(), 0) + 1
    turns = (await ctx.get("turns", type_hint=int) or 0) + 1
    ctx.set("turns", turns)
    # end
    return {"turn": turns, **answer_of(reply)}
