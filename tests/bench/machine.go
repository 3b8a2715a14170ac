package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// machine describes where this was measured.
func machine() string {
	model := "processor unknown"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, found := bytes.Cut(text, []byte("model name")); found {
			line, _, _ := strings.Cut(string(rest), "\n")
			model = strings.TrimLeft(line, " \t:")
		}
	}
	kernel := "kernel unknown"
	var uts unix.Utsname
	if err := unix.Uname(&uts); err == nil {
		kernel = "Linux " + unix.ByteSliceToString(uts.Release[:])
	}
	return fmt.Sprintf("%s, %d cores, %s, %s", model, runtime.NumCPU(), kernel, runtime.Version())
}

// load is the machine's load average over a minute. Beyond the number of cores a VM waits for its turn, and what is done in many small steps
// waits more often: the ratios get worse, not only the times.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "load unknown"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return "load " + first
}
