# stub:
# # TODO: nine requests are too many. Let Restate's three tries be the only ones.
# chatty_client = AsyncOpenAI(max_retries=2)
chatty_client = AsyncOpenAI(max_retries=0)
# end
chatty = restate.Service("ChattyAgent")


async def ask_chatty(messages: list[dict[str, Any]]) -> dict[str, Any]:
    completion = await chatty_client.chat.completions.create(model=MODEL, messages=messages)
    return completion.choices[0].message.model_dump(exclude_none=True)


@chatty.handler("run")
async def chatty_run(ctx: restate.Context, request: WeatherPrompt) -> str:
    messages = [SYSTEM, {"role": "user", "content": request.prompt}]
    quick = timedelta(milliseconds=10)
    options = restate.RunOptions[Any](max_attempts=3, initial_retry_interval=quick)
    try:
        reply = await ctx.run_typed("LLM call", ask_chatty, options, messages=messages)
    except restate.TerminalError:
        return "The model does not answer. Please ask again in a few minutes."
    return str(reply["content"])
