vault = restate.Service("VaultAgent")


def read_token() -> str:
    return "token-of-the-carrier"  # in your project: from a file that only the agent may read


async def find_with(token: str, number: int) -> str:
    return f"Parcel {number} is in Lyon."  # in your project: a request that carries the token


# stub:
# @vault.handler("run")
# async def vault_run(ctx: restate.Context, question: Question) -> str:
#     # TODO: keep the token out of the journal.
#     token = await ctx.run_typed("Read token", read_token)
#     return await ctx.run_typed("Find parcel", find_with, token=token, number=4711)
async def find(number: int) -> str:
    return await find_with(read_token(), number)


@vault.handler("run")
async def vault_run(ctx: restate.Context, question: Question) -> str:
    return await ctx.run_typed("Find parcel", find, number=4711)


# end
