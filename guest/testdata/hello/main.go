// Command hello is the smallest init: it says that it runs and powers the machine off.
package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func main() {
	fmt.Println("hello from init")
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}
