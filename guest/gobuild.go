package guest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Our own programs in the image, as packages of the module.
const (
	agentPackage    = "./agent/cmd/cloister-agent"
	emulatorPackage = "./tools/snp-emulator"
)

// program returns the bytes of one of our programs: the prebuilt file when it is given, else built from the source tree.
func program(ctx context.Context, source, prebuilt, flag, pkg string, progress Progress) ([]byte, error) {
	if prebuilt != "" {
		return os.ReadFile(prebuilt)
	}
	if source == "" {
		return nil, fmt.Errorf("build %s: not inside a Cloister source tree (run in a checkout of %s, or give the program with %s FILE)",
			pkg, modulePath, flag)
	}
	progress.printf("building %s", pkg)
	return goBuild(ctx, source, pkg)
}

// goBuild compiles a package so that the bytes depend on the source and the toolchain only.
func goBuild(ctx context.Context, source, pkg string) ([]byte, error) {
	toolchain, err := goVersion(source)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "cloister-build-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "program")
	cmd := exec.CommandContext(ctx, "go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-tags=", "-gcflags=", "-asmflags=",
		"-ldflags=-s -w -buildid=", "-o", out, pkg)
	cmd.Dir = source
	// What could be set in the environment or by "go env -w" and would change the bytes is set here. The toolchain is the
	// one go.mod names, not the newest one installed.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1", "GOFLAGS=-mod=readonly",
		"GOEXPERIMENT=", "GOFIPS140=off", "GOWORK=off", "GOTOOLCHAIN="+toolchain)
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stderr, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("build %s in %s: %w\n%s", pkg, source, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return os.ReadFile(out)
}

// goVersion is the toolchain that go.mod asks for.
func goVersion(source string) (string, error) {
	mod, err := os.ReadFile(filepath.Join(source, "go.mod"))
	if err != nil {
		return "", err
	}
	version := ""
	for s := bufio.NewScanner(bytes.NewReader(mod)); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) == 2 && fields[0] == "go" {
			version = "go" + fields[1]
		}
		if len(fields) == 2 && fields[0] == "toolchain" {
			version = fields[1]
		}
	}
	if version == "" {
		return "", errors.New("read go.mod: it names no Go version")
	}
	return version, nil
}
