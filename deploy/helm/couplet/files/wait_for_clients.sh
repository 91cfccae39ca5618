# Of the Redis pod's preStop hook: stay while anybody else is connected. Argument: seconds. A run that is stopped with its
# release writes a checkpoint, for which it needs its streams.
end=$(($(date +%s) + $1))
while [ "$(date +%s)" -lt "$end" ]; do
  # This client, and the exporter beside the server, are on the loopback address.
  others=$(redis-cli client list | grep -c -v ' addr=127\.0\.0\.1:' || true)
  [ "$others" -eq 0 ] && break
  sleep 1
done
