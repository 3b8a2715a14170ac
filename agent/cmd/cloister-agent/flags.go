package main

import (
	"errors"
	"flag"
	"fmt"
	"strings"
)

// flags are of the agent as an ordinary process. As PID 1 it has none: the measured kernel command line says what may differ.
type flags struct {
	listen   string
	insecure bool
	prefix   string
	crun     string
}

func parseFlags(args []string) (flags, error) {
	var f flags
	set := flag.NewFlagSet("cloister-agent", flag.ContinueOnError)
	set.StringVar(&f.listen, "listen", "", "address to serve on: unix://PATH, vsock://-1:PORT or virtio-serial://NAME")
	set.BoolVar(&f.insecure, "insecure-no-tee", false, "run without a TEE: policies are taken without hardware's word for them; for development")
	set.StringVar(&f.prefix, "root", "", "directory that stands for / in all of the agent's paths")
	set.StringVar(&f.crun, "crun", "crun", "the container runtime")
	set.Usage = func() {
		fmt.Fprint(set.Output(), "cloister-agent runs as PID 1 of a utility VM. As an ordinary process, for tests:\n\n"+
			"  cloister-agent --listen unix:///tmp/agent.sock --insecure-no-tee\n\n")
		set.PrintDefaults()
	}
	if err := set.Parse(args); err != nil {
		return f, err
	}
	switch {
	case set.NArg() > 0:
		return f, fmt.Errorf("got argument %q, want flags only", set.Arg(0))
	case f.listen == "":
		return f, errors.New("--listen is missing; try --listen unix:///tmp/agent.sock")
	case !strings.Contains(f.listen, "://"):
		return f, fmt.Errorf("--listen %q: want unix://PATH, vsock://-1:PORT or virtio-serial://NAME", f.listen)
	}
	return f, nil
}
