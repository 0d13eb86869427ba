-- What wrk sends and how it tells what it saw: wrk ... -- HOW [N]
-- close: a new connection for each request; upload N: a POST of N bytes; pipeline N: N
-- requests at once on each connection.
function init(args)
	local how, n = args[1], tonumber(args[2])

	if how == "close" then
		wrk.headers["Connection"] = "close"
	elseif how == "upload" then
		wrk.method = "POST"
		wrk.body = string.rep("u", n)
	end
	if how == "pipeline" then
		local all = string.rep(wrk.format(), n)
		-- Only here: wrk calls it for each request, and the load is short of CPU.
		request = function() return all end
	end
end

function done(summary, latency, requests)
	local e = summary.errors
	io.write(string.format(
		"told requests=%d bytes=%d seconds=%.6f errors=%d p50=%.1f p99=%.1f p999=%.1f\n",
		summary.requests, summary.bytes, summary.duration / 1e6,
		e.connect + e.read + e.write + e.status + e.timeout,
		latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
