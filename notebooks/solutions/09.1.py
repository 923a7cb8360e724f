moved = restate.Service("MovedSdkAgent")


# stub:
# # TODO: let every model call and every look-up be a step of the journal.
# @agents.function_tool
# async def current_weather(city: str) -> str:
#     """Get the current weather for a given city."""
#     return await fetch_weather(city)
@durable_function_tool
async def current_weather(city: str) -> str:
    """Get the current weather for a given city."""
    return await restate_context().run_typed("get weather", fetch_weather, city=city)


# end


@moved.handler("run")
async def moved_run(ctx: restate.Context, request: WeatherPrompt) -> str:
    agent = weather_agent.clone(tools=[current_weather])
    # stub:
    # result = await agents.Runner.run(agent, request.prompt)
    result = await DurableRunner.run(agent, request.prompt, run_options=THREE_TRIES)
    # end
    return str(result.final_output)
