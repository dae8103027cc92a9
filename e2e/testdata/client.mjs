// The clients of Node.js. Their loops send requests to a service, one after another, until the
// standard input ends. None sends a request twice. For each request there is a line on the standard
// output, with tabs between the name of the client, the method, the id, the status and the answer.
// If there was no answer, the status is "failed", or "abandoned" if the client has not sent the
// request because of a GOAWAY that does not refuse it, and an error follows.
//
// Arguments: the URLs of the service without and with TLS, the file with its certificate (it must
// be in NODE_EXTRA_CA_CERTS too), the pause between the requests of an idle client in milliseconds,
// and "h2c" if the service speaks HTTP/2 without TLS.
import {readFileSync} from "node:fs";
import http from "node:http";
import http2 from "node:http2";
import https from "node:https";
import {setTimeout as sleep} from "node:timers/promises";

const [plain, secure, certificate, idle, h2c] = process.argv.slice(2);
const ca = readFileSync(certificate);
const pause = 120; // between the requests of a busy client, in milliseconds and on average
const timeout = 20_000; // of a request, likewise
const stopping = new AbortController();
const loops = [];

// ask is called with {method, url, body, expect}, and resolves to [status, text].
function start(name, method, url, ask, {every, expect = false} = {}) {
	const number = loops.length;
	loops.push((async () => {
		for (let n = 0; !stopping.signal.aborted; n++) {
			const id = `${number}-${n}`;
			const body = method === "POST" ? id : undefined;
			const outcome = await ask({method, url: `${url}?id=${id}`, body, expect})
				.then(([status, text]) => [status, lastLine(text)])
				.catch((e) => [e.abandoned ? "abandoned" : "failed", describe(e)]);
			console.log([name, method, id, ...outcome].join("\t"));
			// Loops that wait for the same connection would go on all at once.
			const wait = every ?? pause * (0.5 + Math.random());
			await sleep(wait, undefined, {signal: stopping.signal}).catch(() => {});
		}
	})());
}

// lastLine returns the answer alone: it is the data of each event of a stream.
function lastLine(text) {
	return text.trim().split("\n").at(-1).replace(/^data: /, "");
}

function describe(e) {
	const cause = e.cause ? `: ${describe(e.cause)}` : "";
	return `${e.code ?? e.name} ${e.message}${cause}`.replace(/\s/g, " ");
}

async function read(stream) {
	let text = "";
	for await (const chunk of stream.setEncoding("utf8")) {
		text += chunk;
	}
	return text;
}

// checkHints fails for a handler of early hints from which none have arrived.
function checkHints(url, informed) {
	if (url.includes("/hints") !== informed.includes(103)) {
		throw new Error(`interim answers: ${informed}`);
	}
}

// overHTTP1 sends requests by an agent, whose connections they share.
function overHTTP1({request}, agent) {
	return ({method, url, body, expect}) => new Promise((resolve, reject) => {
		const headers = expect ? {Expect: "100-continue"} : {};
		const informed = [];
		const req = request(url, {agent, method, headers, ca, timeout}, (res) => {
			read(res).then((text) => {
				checkHints(url, informed);
				resolve([res.statusCode, text]);
			}).catch(reject);
		});
		req.on("information", ({statusCode}) => informed.push(statusCode));
		req.on("timeout", () => req.destroy(new Error("timeout")));
		req.on("error", reject);
		if (expect) {
			req.once("continue", () => req.end(body)); // a reverse proxy may pass on a second one
			req.flushHeaders();
		} else {
			req.end(body);
		}
	});
}

// overHTTP2 sends requests on one connection, and connects again when the server has asked it to.
function overHTTP2(base) {
	let session; // its connection
	const connected = () => {
		if (!session || session.closed || session.destroyed) {
			session = http2.connect(base, {ca});
			const s = session;
			s.on("goaway", (_, last) => s.lastStream = last);
			s.on("error", () => {}); // its requests report it
		}
		return session;
	};
	return async ({method, url, body, expect}) => {
		const headers = {":method": method, ":path": url.slice(base.length)};
		const used = connected();
		const stream = used.request(expect ? {...headers, expect: "100-continue"} : headers);
		const informed = [];
		let status;
		stream.on("headers", (h) => informed.push(h[":status"]));
		stream.on("response", (h) => status = h[":status"]);
		stream.setTimeout(timeout, () => stream.destroy(new Error("timeout")));
		if (expect) {
			stream.on("continue", () => stream.end(body));
		} else {
			stream.end(body);
		}
		const text = await read(stream).catch((e) => {
			e.abandoned = isAbandoned(used, stream);
			throw e;
		});
		checkHints(url, informed);
		return [status, text];
	};
}

// isAbandoned returns whether Node.js has not sent a request. It flushes requests some time after
// the call, and refuses them itself if a GOAWAY arrives first.
function isAbandoned({lastStream}, {id, rstCode}) {
	return rstCode === http2.constants.NGHTTP2_REFUSED_STREAM && id <= lastStream;
}

// byFetch cannot send Expect, and is told of no interim answer.
async function byFetch({method, url, body}) {
	const res = await fetch(url, {method, body, signal: AbortSignal.timeout(timeout)});
	return [res.status, await res.text()];
}

// startBusy starts clients of all handlers. Those of one handler have an ask of their own, so that
// no other handler ends their connections, unless make returns always the same one. Some wait for
// 100 (Continue), if the handler is in expecting.
function startBusy(name, url, make, expecting) {
	for (const path of ["/echo", "/hints", "/proxy/hints"]) {
		const ask = make();
		start(`${name} ${path}`, "GET", url + path, ask);
		start(`${name} ${path}`, "POST", url + path, ask);
		if (expecting.includes(path)) {
			start(`${name} ${path} with Expect`, "POST", url + path, ask, {expect: true});
		}
	}
	start(`${name} /events`, "GET", `${url}/events`, make());
}

// startIdle starts clients that are idle at times. None shares its connection.
function startIdle(name, url, make) {
	start(`${name} idle`, "GET", `${url}/echo`, make(), {every: Number(idle)});
	start(`${name} idle`, "POST", `${url}/echo`, make(), {every: Number(idle)});
}

function startHTTP1(name, url, module) {
	const make = () => overHTTP1(module, new module.Agent({keepAlive: true}));
	startBusy(name, url, make, ["/echo", "/hints", "/proxy/hints"]);
	startIdle(name, url, make);
}

// A service of net/http sends no 100 in HTTP/2 once it has sent a 103.
function startHTTP2(name, url) {
	const ask = overHTTP2(url);
	startBusy(name, url, () => ask, ["/echo"]);
	startIdle(name, url, () => overHTTP2(url));
}

startHTTP1("HTTP/1", plain, http);
startHTTP1("HTTP/1 with TLS", secure, https);
startHTTP2("HTTP/2", secure);
if (h2c) {
	startHTTP2("HTTP/2 without TLS", plain);
}
startBusy("fetch", plain, () => byFetch, []);
startBusy("fetch with TLS", secure, () => byFetch, []);

process.stdin.resume().on("end", async () => {
	stopping.abort();
	await Promise.all(loops);
	process.exit(0);
});
