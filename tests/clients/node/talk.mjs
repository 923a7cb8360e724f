// One conversation of the official client for Node with the stand-in, as one line of JSON.
// `node talk.mjs chat` has the conversation named "chat"; the names are at the end.

import net from "node:net";

// Nobody connects but to 127.0.0.1; who tries is noted, also if it hides its failure.
const elsewhere = [];
const connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function (...given) {
  const [options] = Array.isArray(given[0]) ? given[0] : given;
  const host = options.host ?? options.path ?? "localhost";
  if (host !== "127.0.0.1") {
    elsewhere.push(host);
    throw new Error(`a connection to ${host}`);
  }
  return connect.apply(this, given);
};

const { default: OpenAI } = await import("openai");
const { zodFunction, zodResponseFormat, zodTextFormat } = await import("openai/helpers/zod");
const { z } = await import("zod");

const client = new OpenAI();
const model = "offline-stand-in";
const instructions = "You are a helpful agent that provides weather updates.";
const one = "What is the weather in Lagos?";
const two = "What is the weather in Lagos and Oslo?";
const Report = z.object({ city: z.string(), temperature: z.number().int() });

const cities = [];
const words = [];

function getWeather({ city }) {
  cities.push(city);
  return { Lagos: "31 °C, sunny", Oslo: "-4 °C, snow" }[city];
}

const tool = zodFunction({
  name: "get_weather",
  description: "Get the current weather for a given city.",
  parameters: z.object({ city: z.string() }),
  function: getWeather,
});

function asked(question) {
  return [
    { role: "system", content: instructions },
    { role: "user", content: question },
  ];
}

// Chat completions: the client's own loop calls the tool until the model answers.
async function runTools(question, options = {}) {
  const request = { model, messages: asked(question), tools: [tool], ...options };
  const runner = client.chat.completions.runTools(request);
  if (options.stream) runner.on("content", (word) => words.push(word));
  return runner.finalContent();
}

async function parse() {
  const messages = asked(one);
  const response_format = zodResponseFormat(Report, "report");
  for (;;) {
    const request = { model, messages, tools: [tool], response_format };
    const { message } = (await client.chat.completions.parse(request)).choices[0];
    messages.push(message);
    if (!message.tool_calls?.length) return message.parsed;
    for (const call of message.tool_calls) {
      const content = getWeather(call.function.parsed_arguments);
      messages.push({ role: "tool", tool_call_id: call.id, content });
    }
  }
}

// Responses: our own loop, with each of the client's ways to ask.
async function respond(question, ask, read) {
  const { function: named } = tool;
  const input = [{ role: "user", content: question }];
  for (;;) {
    const tools = [{ type: "function", ...named }];
    const response = await ask({ model, instructions, input, tools });
    const calls = response.output.filter((item) => item.type === "function_call");
    if (!calls.length) return read(response);
    input.push(...response.output);
    for (const { call_id, arguments: text } of calls) {
      const output = getWeather(JSON.parse(text));
      input.push({ type: "function_call_output", call_id, output });
    }
  }
}

async function streamed(request) {
  const stream = client.responses.stream(request);
  stream.on("response.output_text.delta", (event) => words.push(event.delta));
  return stream.finalResponse();
}

const text = (response) => response.output_text;
const shaped = { text: { format: zodTextFormat(Report, "report") } };
const talks = {
  chat: () => runTools(two),
  one_at_a_time: () => runTools(two, { parallel_tool_calls: false }),
  parse,
  stream: () => runTools(two, { stream: true }),
  responses: () => respond(two, (request) => client.responses.create(request), text),
  responses_parse: () =>
    respond(one, (request) => client.responses.parse({ ...request, ...shaped }), (r) => r.output_parsed),
  responses_stream: () => respond(two, streamed, text),
  elsewhere: () => fetch("http://192.0.2.1/").catch((error) => String(error.cause ?? error)),
};

const answer = await talks[process.argv[2]]();
console.log(JSON.stringify({ answer, cities, words, elsewhere }));
