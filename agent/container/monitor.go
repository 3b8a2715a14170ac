package container

import (
	"context"
	"fmt"
	"os/exec"
	"sync"
	"time"

	runc "github.com/containerd/go-runc"

	"github.com/cloister-cc/cloister/agent/boot"
)

// monitor lets go-runc start its commands through the one reaper.
type monitor struct {
	reaper *boot.Reaper

	mu       sync.Mutex
	children map[*exec.Cmd]*boot.Child
}

// NewReaper makes the process's reaper one that a Runtime can use.
func NewReaper(r *boot.Reaper) Reaper {
	return &monitor{reaper: r, children: map[*exec.Cmd]*boot.Child{}}
}

// Start starts a command of the runtime.
func (m *monitor) Start(cmd *exec.Cmd) (chan runc.Exit, error) {
	c, err := m.reaper.Start(cmd)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	m.children[cmd] = c
	m.mu.Unlock()
	return make(chan runc.Exit), nil
}

// StartLocked is Start: no parent-death signal is used here.
func (m *monitor) StartLocked(cmd *exec.Cmd) (chan runc.Exit, error) { return m.Start(cmd) }

// runtimeLimit bounds one command of the runtime. crun answers in well under a second; one that hangs is killed, and its
// outcome is unknown.
const runtimeLimit = time.Minute

// Wait returns the exit status of a command, 128 and the signal's number when it was killed.
func (m *monitor) Wait(cmd *exec.Cmd, _ chan runc.Exit) (int, error) {
	m.mu.Lock()
	c := m.children[cmd]
	delete(m.children, cmd)
	m.mu.Unlock()
	if c == nil {
		return -1, fmt.Errorf("wait for the runtime: the command was not started here")
	}
	ctx, cancel := context.WithTimeout(context.Background(), runtimeLimit)
	defer cancel()
	status, err := c.Wait(ctx)
	if err != nil {
		if killErr := cmd.Process.Kill(); killErr != nil {
			return -1, killErr
		}
		return -1, err
	}
	return int(exitCode(status, nil)), nil
}

// Adopt returns the exit of a process that the runtime left to the agent.
func (m *monitor) Adopt(pid int) (Exit, error) { return m.reaper.Adopt(pid) }
