package sandbox

import (
	"context"
	"fmt"
	"os"
	"runtime"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/container"
	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/snp/eventlog"
)

// pod is what CreateSandbox made: the names and namespaces that its containers share.
type pod struct {
	id, key  string
	hostname string
	ns       container.Namespaces
	shm      string // guest path of the pod's /dev/shm
	shmMount Mount
	context  map[string][32]byte // what is in the security-context directory: SHA-256 by name
}

// PodRequest is a CreateSandbox request after its form check. Hosts and ResolvConf are the agent's own texts.
type PodRequest struct {
	ID, Hostname      string
	Hosts, ResolvConf []byte
}

// shmSize bounds the pod's shared memory, in bytes.
const shmSize = 64 << 20

// CreatePod makes the pod, once.
func (s *Sandbox) CreatePod(ctx context.Context, req PodRequest) error {
	if err := CheckID("sandbox", req.ID); err != nil {
		return err
	}
	return s.change(ctx, func(ctx context.Context) error {
		switch {
		case s.destroyed:
			return wrongMoment("the sandbox was destroyed; a guest has one")
		case s.pod != nil:
			return wrongMoment("a sandbox exists already; a guest has one")
		}
		var u undo
		p, err := s.makePod(ctx, req, &u)
		if err != nil {
			return s.rollBack(ctx, &u, err)
		}
		s.mu.Lock()
		s.pod = p
		s.mu.Unlock()
		s.happened(eventlog.KindSandboxCreated, p.key)
		return nil
	})
}

func (s *Sandbox) makePod(ctx context.Context, req PodRequest, u *undo) (*pod, error) {
	p := &pod{id: req.ID, key: Key(req.ID), hostname: req.Hostname}
	dir := s.fs(containerDir(p.key))
	if err := os.MkdirAll(s.fs(sandboxDir(p.key)), 0o755); err != nil {
		return nil, fmt.Errorf("make sandbox directory: %w", err)
	}
	u.push(func(context.Context) error { return os.RemoveAll(dir) })
	for name, text := range map[string][]byte{
		hostsName(p.key):    req.Hosts,
		hostnameName(p.key): []byte(req.Hostname + "\n"),
		resolvName(p.key):   req.ResolvConf,
	} {
		if err := os.WriteFile(s.fs(name), text, 0o644); err != nil {
			return nil, fmt.Errorf("write network file: %w", err)
		}
	}
	p.shm = s.fs(containerDir(p.key) + "/shm")
	m, err := s.cfg.Storage.MountScratch(ctx, p.shm, shmSize)
	if err != nil {
		return nil, fmt.Errorf("mount shared memory: %w", err)
	}
	p.shmMount = m
	u.push(m.Unmount)
	if err := os.Chmod(p.shm, 0o1777|os.ModeSticky); err != nil {
		return nil, fmt.Errorf("open shared memory to the pod: %w", err)
	}
	if p.ns, err = s.makeNamespaces(p.key, req.Hostname); err != nil {
		return nil, err
	}
	u.push(func(context.Context) error { return dropNamespaces(p.ns) })
	if err := s.cfg.Gate.Policy().Enforcer.AddDefaultMounts(networkMounts(p.key)); err != nil {
		return nil, fmt.Errorf("tell the policy of the pod's files: %w", err)
	}
	return p, nil
}

// networkMounts are the three files that every container of the pod gets from the agent.
func networkMounts(key string) []enforcer.Mount {
	var out []enforcer.Mount
	for _, m := range []struct{ destination, source string }{
		{"/etc/hosts", hostsName(key)},
		{"/etc/hostname", hostnameName(key)},
		{"/etc/resolv.conf", resolvName(key)},
	} {
		out = append(out, enforcer.Mount{
			Destination: m.destination, Source: m.source, Type: "bind", Options: []string{"bind", "rprivate", "rw"},
		})
	}
	return out
}

// makeNamespaces makes the pod's IPC and UTS namespaces on a thread of their own and keeps them by bind mounts, so that no
// process has to live for them. The thread is not given back to Go: it ends inside the new namespaces.
func (s *Sandbox) makeNamespaces(key, hostname string) (container.Namespaces, error) {
	ns := container.Namespaces{IPC: s.fs(containerDir(key) + "/ipc.ns"), UTS: s.fs(containerDir(key) + "/uts.ns")}
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		result <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWIPC | unix.CLONE_NEWUTS); err != nil {
				return fmt.Errorf("make pod namespaces: %w", err)
			}
			if err := unix.Sethostname([]byte(hostname)); err != nil {
				return fmt.Errorf("set host name: %w", err)
			}
			for path, kind := range map[string]string{ns.IPC: "ipc", ns.UTS: "uts"} {
				f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o600)
				if err != nil {
					return fmt.Errorf("make namespace file: %w", err)
				}
				f.Close()
				if err := unix.Mount("/proc/thread-self/ns/"+kind, path, "", unix.MS_BIND, ""); err != nil {
					return fmt.Errorf("keep %s namespace: %w", kind, err)
				}
			}
			return nil
		}()
	}()
	err := <-result
	if err != nil {
		dropNamespaces(ns)
	}
	return ns, err
}

func dropNamespaces(ns container.Namespaces) error {
	for _, path := range []string{ns.IPC, ns.UTS} {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && err != unix.EINVAL && err != unix.ENOENT {
			return fmt.Errorf("drop namespace: %w", err)
		}
	}
	return nil
}

// DestroyPod ends the pod. Its containers must have been removed.
func (s *Sandbox) DestroyPod(ctx context.Context) error {
	return s.change(ctx, func(ctx context.Context) error {
		switch {
		case s.pod == nil:
			return wrongMoment("there is no sandbox")
		case len(s.containers) > 0:
			return wrongMoment("the sandbox still has %d containers", len(s.containers))
		}
		if err := dropNamespaces(s.pod.ns); err != nil {
			return err
		}
		if err := s.unmounted("the pod's shared memory", s.pod.shmMount.Unmount(ctx)); err != nil {
			return internal("%v", err)
		}
		if err := removeTree(s.fs(containerDir(s.pod.key))); err != nil {
			s.cfg.Log.Warn("the pod's directory stays", zap.Error(err))
		}
		s.happened(eventlog.KindSandboxDestroyed, s.pod.key)
		s.mu.Lock()
		s.pod, s.destroyed = nil, true
		s.mu.Unlock()
		return nil
	})
}
