package share

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/agent/network"
)

const hostsFile = "/etc/hosts"

// maxHosts bounds a hosts file, in bytes; the agent takes no more.
const maxHosts = 64 << 10

// sendHosts sends the lines of a hosts file that the agent takes: it reads names and addresses and refuses a file with any other line.
func (v *volume) sendHosts(ctx context.Context, f *os.File, r *api.CopyFileRequest) error {
	text, err := io.ReadAll(io.LimitReader(f, maxHosts+1))
	if err != nil {
		return err
	}
	if len(text) > maxHosts {
		return fmt.Errorf("got more than %d bytes", maxHosts)
	}
	r.Data = hostLines(text)
	r.FileSize = int64(len(r.Data))
	return v.call(ctx, r)
}

// maxAliases is how many lines the agent takes.
const maxAliases = 1024

func hostLines(text []byte) []byte {
	var out []byte
	kept := 0
	for line := range bytes.Lines(text) {
		if list, err := network.ParseHosts(line); err != nil || len(list) == 0 || kept == maxAliases {
			continue
		}
		kept++
		out = append(append(out, bytes.TrimRight(line, "\r\n")...), '\n')
	}
	return out
}
