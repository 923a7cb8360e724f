umbrella = restate.Service("UmbrellaAgent")


@umbrella.handler("run")
async def umbrella_run(ctx: restate.Context, request: WeatherPrompt) -> str:
    messages = [SYSTEM, {"role": "user", "content": request.prompt}]
    reply = await ctx.run_typed("LLM call", ask_model, THREE_TRIES, messages=messages)
    city = read_city(reply["tool_calls"][0])
    # stub:
    # # TODO: make this a step, named "get weather".
    # report = await fetch_weather(city)
    report = await ctx.run_typed("get weather", fetch_weather, city=city)
    # end
    return "Take an umbrella." if "rain" in report else "Leave the umbrella at home."
