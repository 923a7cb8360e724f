patient = restate.Service("PatientAgent")


@patient.handler("run")
async def patient_run(ctx: restate.Context, request: WeatherPrompt) -> str:
    messages = [SYSTEM, {"role": "user", "content": request.prompt}]
    quick = timedelta(milliseconds=100)
    # stub:
    # # TODO: three tries at most, and a sentence for the user when they are used up.
    # options = restate.RunOptions[Any](max_attempts=10, initial_retry_interval=quick)
    # reply = await ctx.run_typed("LLM call", ask_model, options, messages=messages)
    options = restate.RunOptions[Any](max_attempts=3, initial_retry_interval=quick)
    try:
        reply = await ctx.run_typed("LLM call", ask_model, options, messages=messages)
    except restate.TerminalError:
        return "The model does not answer. Please ask again in a few minutes."
    # end
    return str(reply.get("content", "The model wants to use its tool."))
