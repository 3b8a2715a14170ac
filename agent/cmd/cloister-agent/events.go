package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"strings"

	"github.com/cloister-cc/cloister/agent/gate"
	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/snp/eventlog"
)

// newEvents begins the event log with how this agent is run. As an ordinary process there is no command line that was measured.
func newEvents(set settings) *eventlog.Log {
	first := eventlog.Entry{Version: version, Defaults: defaults(set)}
	if set.pid1 {
		// What cannot be read is left out, digest and all, and a relying party sees that.
		if text, err := os.ReadFile("/proc/cmdline"); err == nil {
			line := strings.TrimSuffix(string(text), "\n")
			sum := sha256.Sum256([]byte(line))
			first.Cmdline, first.Digest = line, sum[:]
		}
	}
	return eventlog.New(first, eventlog.Limits{})
}

// defaults are what applies unless the command line or the policy says something else; a relying party knows the agent by its measurement, and
// need not know its source.
func defaults(set settings) []string {
	return []string{
		"framework=" + aci.FrameworkVersion,
		fmt.Sprintf("insecure_no_tee=%t", set.insecure),
		"judge=" + string(enforcer.JudgeAuto),
		fmt.Sprintf("max_fragments=%d", gate.MaxFragments),
		fmt.Sprintf("pid1=%t", set.pid1),
		fmt.Sprintf("strict_api=%t", set.strict),
		"umask=0022",
	}
}
