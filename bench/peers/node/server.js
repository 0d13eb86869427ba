// node with its cluster module, one process per core; /block shows what not to do.
'use strict';
const cluster = require('cluster');
const http = require('http');
const net = require('net');
const { execFileSync } = require('child_process');

const [originHost, originPort] = process.env.ORIGIN.split(':');
const [cacheHost, cachePort] = process.env.CACHE.split(':');
const agent = new http.Agent({ keepAlive: true, maxSockets: Infinity, maxFreeSockets: Infinity });
const idle = [];	// idle connections to the cache

function respond(res, status, body) {
	res.writeHead(status, { 'Content-Length': body.length });
	res.end(body);
}

function originGet(path, res) {
	const options = { agent, host: originHost, port: originPort, path };
	http.get(options, (response) => {
		const parts = [];
		response.on('data', (part) => parts.push(part));
		response.on('end', () => respond(res, response.statusCode, Buffer.concat(parts)));
	}).on('error', () => respond(res, 502, Buffer.alloc(0)));
}

// The value in the response to a get: [value]; [] if there is none; null if incomplete.
function parseValue(text) {
	if (text.startsWith('END\r\n'))
		return [];
	const line = text.indexOf('\r\n');
	if (line < 0)
		return null;
	const bytes = Number(text.slice(0, line).split(' ')[3]);
	return text.length < line + 2 + bytes + 7 ? null : [text.slice(line + 2, line + 2 + bytes)];
}

function cacheGet(key, res) {
	const socket = idle.pop() || net.connect(cachePort, cacheHost);
	let text = '';
	socket.on('error', () => respond(res, 502, Buffer.alloc(0)));
	socket.on('data', (part) => {
		text += part.toString('latin1');
		const found = parseValue(text);
		if (!found)
			return;
		socket.removeAllListeners('data');
		socket.removeAllListeners('error');
		idle.push(socket);
		respond(res, found.length ? 200 : 404, Buffer.from(found[0] || '', 'latin1'));
	});
	socket.write(`get ${key}\r\n`);
}

function serve(req, res) {
	switch (req.url) {
	case '/sync':
	case '/async':
		originGet('/', res);
		break;
	case '/cache':
		cacheGet('foo', res);
		break;
	case '/block':
		respond(res, 200, execFileSync('curl', ['-s', `http://${process.env.ORIGIN}/`]));
		break;
	case '/login/':
		originGet('/status/200', res);
		break;
	default:
		respond(res, 404, Buffer.alloc(0));
	}
}

if (cluster.isPrimary) {
	for (let i = 0; i < Number(process.env.WORKERS); i++)
		cluster.fork();
	process.on('SIGTERM', () => process.exit(0));
} else {
	http.createServer(serve).listen({ host: '127.0.0.1', port: Number(process.env.PORT),
					  backlog: 16384 });
}
