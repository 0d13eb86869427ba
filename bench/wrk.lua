-- Prints the result line of wrk, as bench/ends.c does.
function done(summary, latency, requests)
	local e = summary.errors
	io.write(string.format(
		"result requests=%d bytes=%d seconds=%.6f errors=%d p50=%.1f p99=%.1f p999=%.1f\n",
		summary.requests, summary.bytes, summary.duration / 1e6,
		e.connect + e.read + e.write + e.status + e.timeout,
		latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
