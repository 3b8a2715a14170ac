package main

import (
	"fmt"
	"os"
	"syscall"
)

// attempts are things that a confined process must not manage to do.
var attempts = map[string]func() error{
	"make-sev-guest": makeReportDevice,
	"mount":          func() error { return syscall.Mount("tmpfs", "/tmp", "tmpfs", 0, "") },
	"mknod":          func() error { return syscall.Mknod("/tmp/sda", syscall.S_IFBLK|0o600, 8<<8) },
	"write-root":     func() error { return os.WriteFile("/bin/w", []byte("x"), 0o755) },
	"write-proc":     func() error { return os.WriteFile("/proc/sys/kernel/hostname", []byte("x"), 0o644) },
	"sysrq":          func() error { return os.WriteFile("/proc/sysrq-trigger", []byte("h"), 0o644) },
	"read-kcore":     func() error { return readSome("/proc/kcore") },
	"open-port":      func() error { return readSome("/dev/vport1p1") },
	"open-disk":      func() error { return readSome("/dev/sda") },
	"open-sev-guest": func() error { return openDevice("/dev/sev-guest") },
	"write-sys":      func() error { return os.WriteFile("/sys/kernel/uevent_helper", []byte("/x"), 0o644) },
	"sethostname":    func() error { return syscall.Sethostname([]byte("x")) },
	"reboot":         func() error { return syscall.Reboot(syscall.LINUX_REBOOT_CMD_CAD_OFF) },
}

// makeReportDevice makes a node for the report device, by the number that the kernel tells everybody, and opens it.
func makeReportDevice() error {
	for _, class := range []string{"misc", "cuse"} {
		var major, minor int
		if n, _ := fmt.Sscanf(content("/sys/class/"+class+"/sev-guest/dev"), "%d:%d", &major, &minor); n != 2 {
			continue
		}
		if err := syscall.Mknod("/tmp/report", syscall.S_IFCHR|0o600, major<<8|minor&0xff|(minor&^0xff)<<12); err != nil {
			return err
		}
		return openDevice("/tmp/report")
	}
	return fmt.Errorf("the device's number is not known")
}

func openDevice(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

func readSome(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := f.Read(make([]byte, 16))
	if n == 0 && err == nil {
		return fmt.Errorf("no bytes")
	}
	return err
}

// try prints what became of each attempt: "ok" or the error.
func try(args []string) error {
	for _, name := range args {
		attempt := attempts[name]
		if attempt == nil {
			return fmt.Errorf("no attempt %q", name)
		}
		err := attempt()
		if err == nil {
			fmt.Println(name, "ok")
			continue
		}
		fmt.Println(name, err)
	}
	return nil
}
