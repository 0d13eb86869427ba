// node: its cluster, one process per core, and the don't.
'use strict';
const cluster = require('cluster');
const http = require('http');
const net = require('net');
const { execFileSync } = require('child_process');

const [originHost, originPort] = process.env.ORIGIN.split(':');
const [cacheHost, cachePort] = process.env.CACHE.split(':');
const agent = new http.Agent({ keepAlive: true, maxSockets: Infinity, maxFreeSockets: Infinity });
const idle = [];	// connections to the cache that wait for the next question

function give(res, status, body) {
	res.writeHead(status, { 'Content-Length': body.length });
	res.end(body);
}

function askOrigin(path, res) {
	const question = { agent, host: originHost, port: originPort, path };
	http.get(question, (answer) => {
		const parts = [];
		answer.on('data', (part) => parts.push(part));
		answer.on('end', () => give(res, answer.statusCode, Buffer.concat(parts)));
	}).on('error', () => give(res, 502, Buffer.alloc(0)));
}

// The whole answer to a get, or nothing yet: [value], or [] if there is none of that name.
function valueOf(text) {
	if (text.startsWith('END\r\n'))
		return [];
	const line = text.indexOf('\r\n');
	if (line < 0)
		return null;
	const bytes = Number(text.slice(0, line).split(' ')[3]);
	return text.length < line + 2 + bytes + 7 ? null : [text.slice(line + 2, line + 2 + bytes)];
}

function askCache(key, res) {
	const socket = idle.pop() || net.connect(cachePort, cacheHost);
	let text = '';
	socket.on('error', () => give(res, 502, Buffer.alloc(0)));
	socket.on('data', (part) => {
		text += part.toString('latin1');
		const found = valueOf(text);
		if (!found)
			return;
		socket.removeAllListeners('data');
		socket.removeAllListeners('error');
		idle.push(socket);
		give(res, found.length ? 200 : 404, Buffer.from(found[0] || '', 'latin1'));
	});
	socket.write(`get ${key}\r\n`);
}

function serve(req, res) {
	switch (req.url) {
	case '/sync':
	case '/async':
		askOrigin('/', res);
		break;
	case '/cache':
		askCache('foo', res);
		break;
	case '/block':
		give(res, 200, execFileSync('curl', ['-s', `http://${process.env.ORIGIN}/`]));
		break;
	case '/login/':
		askOrigin('/status/200', res);
		break;
	default:
		give(res, 404, Buffer.alloc(0));
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
