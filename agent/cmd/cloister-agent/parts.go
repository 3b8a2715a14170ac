package main

import (
	"context"
	"os"

	"github.com/cloister-cc/cloister/agent/boot"
	"github.com/cloister-cc/cloister/agent/cgroup"
	"github.com/cloister-cc/cloister/agent/sandbox"
	"github.com/cloister-cc/cloister/agent/storage"
)

const cgroupRoot = "/sys/fs/cgroup"

func openGroup(path string) (sandbox.Group, error) { return cgroup.Open(cgroupRoot + path) }

// newStorage opens storage. runProgram is nil where the agent is an ordinary process, which formats no disks.
func newStorage(runProgram func(ctx context.Context, path string, args ...string) error) (sandbox.Storage, error) {
	m, err := storage.New(storage.Config{LoadModule: loadModule, RunProgram: runProgram})
	if err != nil {
		return nil, err
	}
	return sandbox.KernelStorage(m), nil
}

// loadModule loads a module on its first use; an ordinary process has the machine's kernel as it is.
func loadModule(name string) error {
	if os.Getpid() != 1 {
		return nil
	}
	return boot.LoadModule(name)
}
