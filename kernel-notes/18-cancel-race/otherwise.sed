# An enter comes between in every race.
s/if (completes)/if (completes || true)/
