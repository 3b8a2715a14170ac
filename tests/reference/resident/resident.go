// Package resident says how much memory a process holds.
package resident

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
)

// Print writes two numbers, in KiB: VmRSS as it is, and after what is not needed was given back.
func Print() error {
	loaded, err := vmRSS()
	if err != nil {
		return err
	}
	runtime.GC()
	debug.FreeOSMemory()
	idle, err := vmRSS()
	if err != nil {
		return err
	}
	_, err = fmt.Println(loaded, idle)
	return err
}

func vmRSS() (int, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		var kib int
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kib); n == 1 {
			return kib, nil
		}
	}
	return 0, fmt.Errorf("no VmRSS in /proc/self/status")
}
