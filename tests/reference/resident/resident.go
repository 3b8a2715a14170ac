// Package resident says how much memory a process holds when it holds nothing that it does not need.
package resident

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
)

// KiB collects garbage, gives memory back and reads VmRSS.
func KiB() (int, error) {
	runtime.GC()
	debug.FreeOSMemory()
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
