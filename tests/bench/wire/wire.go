// Package wire is what the host's and the guest's part of the benchmark say to each other: one JSON object a question, one an
// answer, over a port that no agent serves.
package wire

import "time"

// Port is the virtio-serial port of the questions: the agent's own service has the ones before it.
const Port = 2

// The questions.
const (
	OpStart = "start" // measure container starts
	OpAwait = "await" // return once a disk can be opened

	OpReference = "reference" // measure the bare runtime's create and start, and its exec
	OpStream    = "stream"    // write zeros, and nothing else

	OpEvidence = "evidence" // ask the report device, barely and through the broker
)

// Question is one thing to measure.
type Question struct {
	Op string `json:"op"`

	// OpStart: two encoded create requests of the same container, on disks of their own: one is created once and lends its
	// mounted root file system to the bare runtime, the other is created anew in each run.
	Prepared []byte `json:"prepared,omitempty"`
	Measured []byte `json:"measured,omitempty"`
	Runs     int    `json:"runs,omitempty"`

	// OpStream
	Bytes int64 `json:"bytes,omitempty"`

	// OpAwait
	Disk string `json:"disk,omitempty"` // bus:lun
}

// Answer is what was found, or why not.
type Answer struct {
	Error string `json:"error,omitempty"`
	Runs  []Run  `json:"runs,omitempty"`

	Evidence []Evidence `json:"evidence,omitempty"`

	References []Reference `json:"references,omitempty"`
}

// Reference is one round of the bare runtime.
type Reference struct {
	// Start is from before `crun create` to the first byte after `crun start`.
	Start time.Duration `json:"start"`
	// Exec is `crun exec` from before its start to its end.
	Exec time.Duration `json:"exec"`
}

// Evidence is one round: a report of the device by one ioctl, and a container's evidence through the broker.
type Evidence struct {
	Ioctl    time.Duration `json:"ioctl"`
	Evidence time.Duration `json:"evidence"`
}

// Run is one round: each way to start the container once, in alternating order.
type Run struct {
	// Agent is from the decoded request to the first byte of the container's first process.
	Agent time.Duration `json:"agent"`
	// Crun is from before the start of `crun run` to that byte.
	Crun time.Duration `json:"crun"`
	// Sealed is Crun with the runtime in sealed memory, where the agent has it: it need not make a copy of itself first.
	Sealed time.Duration `json:"sealed"`
	// Pair is Crun for `crun create` and then `crun start`, which is what a runtime that is asked in two steps does.
	Pair time.Duration `json:"pair"`
	// Steps divide Agent.
	Steps []Step `json:"steps"`
}

// Step is the time from the end of the step before it.
type Step struct {
	Name string        `json:"name"`
	Took time.Duration `json:"took"`
}
