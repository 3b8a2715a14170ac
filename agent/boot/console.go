package boot

import (
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Message is one of the fixed sentences the console may show. None has a place for data: what the host sees here must not depend on a request.
type Message int

// The catalogue. Messages from FatalBoot on say why the VM ends and are shown at any time; the others only until a policy is bound.
const (
	MessageStarting Message = iota
	MessageModules
	MessageMounts
	MessageRoot
	MessageServing
	MessagePolicyBound
	MessageNoTEE
	MessagePowerOff

	FatalBoot
	FatalParameter
	FatalTransport
	FatalInitdata
	FatalDevice
	FatalLevel
	FatalInternal
	messages // count
)

var catalogue = [messages]string{
	MessageStarting:    "starting",
	MessageModules:     "loading kernel modules",
	MessageMounts:      "mounting file systems",
	MessageRoot:        "leaving the initramfs",
	MessageServing:     "serving",
	MessagePolicyBound: "a policy is bound; the console falls silent",
	MessageNoTEE:       "no SEV-SNP report device: every policy is refused",
	MessagePowerOff:    "powering off",
	FatalBoot:          "fatal: a boot step failed",
	FatalParameter:     "fatal: a kernel command line parameter is unknown, repeated or malformed",
	FatalTransport:     "fatal: no transport to serve on",
	FatalInitdata:      "fatal: the initdata disk does not match HOST_DATA",
	FatalDevice:        "fatal: the SEV-SNP report device cannot be used",
	FatalLevel:         "fatal: the SEV-SNP report device has no key for the agent's privilege level (VMPL)",
	FatalInternal:      "fatal: internal error",
}

// String returns the sentence.
func (m Message) String() string {
	if m < 0 || m >= messages {
		return catalogue[FatalInternal]
	}
	return catalogue[m]
}

// Console shows messages to the host. The zero value and nil show nothing.
type Console struct {
	mu     sync.Mutex
	w      io.Writer
	silent bool
}

// NewConsole returns a console on w.
func NewConsole(w io.Writer) *Console { return &Console{w: w} }

// openConsole opens the kernel's console. A host that does not drain it must not hold up the boot, hence O_NONBLOCK: a message that finds no
// room is lost.
func openConsole(path string) (*Console, error) {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return NewConsole(fdWriter(fd)), nil
}

// fdWriter writes without the runtime's poller, which would wait for room.
type fdWriter int

func (w fdWriter) Write(p []byte) (int, error) { return unix.Write(int(w), p) }

// Say shows m.
func (c *Console) Say(m Message) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.w == nil || (c.silent && m < FatalBoot) {
		return
	}
	_, _ = fmt.Fprintf(c.w, "cloister: %s\n", m)
}

// Silence keeps all but fatal messages off the console from here on: a policy is bound.
func (c *Console) Silence() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silent = true
}
