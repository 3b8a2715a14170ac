// Command hello is the least that can be PID 1 of the guest's kernel in Go: it says that it runs, and waits for the end.
package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func main() {
	fmt.Print("\nready\n") // the firmware leaves its last line open
	for {
		_ = unix.Pause()
	}
}
