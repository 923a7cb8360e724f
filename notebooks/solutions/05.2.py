digest = restate.Service("DigestAgent")
ORDERS = ["Analyze sentiment", "Extract three key points", "Summarize in one sentence"]
broken_lines = iter([ConnectionError("the line is broken")] * 2)


async def ask_about(order: str) -> str:
    if order == ORDERS[1]:
        await asyncio.sleep(0.05)
        for error in broken_lines:
            raise error
    answer = await ask(f"{order}: {Text().message}")
    await asyncio.sleep(0.2)  # paid for already, but not yet in the journal
    return answer


@digest.handler("one")
async def digest_one(ctx: restate.Context, order: str) -> str:
    return await ctx.run_typed(order, ask_about, tries(3), order=order)


@digest.handler("run")
async def digest_run(ctx: restate.Context) -> list[str]:
    # stub:
    # # TODO: call digest_one for each order instead.
    # answers = [ctx.run_typed(order, ask_about, tries(3), order=order) for order in ORDERS]
    answers = [ctx.service_call(digest_one, order) for order in ORDERS]
    # end
    await restate.gather(*answers)
    return [await answer for answer in answers]
