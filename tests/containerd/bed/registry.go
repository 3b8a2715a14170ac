package bed

import (
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	digests "github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// registry serves OCI layouts to a node, read-only: what a pull needs of the distribution protocol.
type registry struct {
	server *http.Server
	addr   string

	mu      sync.Mutex
	layouts map[string]string // by repository name
}

func startRegistry(dir string) (*registry, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	r := &registry{layouts: map[string]string{}}
	for _, e := range entries {
		r.layouts[e.Name()] = filepath.Join(dir, e.Name())
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r.addr = l.Addr().String()
	r.server = &http.Server{Handler: r}
	go r.server.Serve(l)
	return r, nil
}

// replace puts another image under a name.
func (r *registry) replace(name, layout string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.layouts[name] = layout
}

// ServeHTTP answers /v2/, /v2/NAME/manifests/REFERENCE and /v2/NAME/blobs/DIGEST.
func (r *registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	parts := strings.Split(strings.TrimPrefix(req.URL.Path, "/v2/"), "/")
	if req.URL.Path == "/v2/" {
		return
	}
	if len(parts) != 3 || !strings.HasPrefix(req.URL.Path, "/v2/") {
		http.NotFound(w, req)
		return
	}
	r.mu.Lock()
	dir, ok := r.layouts[parts[0]]
	r.mu.Unlock()
	if !ok {
		http.NotFound(w, req)
		return
	}
	d, mediaType := digests.Digest(parts[2]), "application/octet-stream"
	if parts[1] == "manifests" {
		var index v1.Index
		if err := readJSON(filepath.Join(dir, v1.ImageIndexFile), &index); err != nil || len(index.Manifests) != 1 {
			http.Error(w, "layout cannot be read", http.StatusInternalServerError)
			return
		}
		if parts[2] == "latest" {
			d = index.Manifests[0].Digest
		}
		mediaType = index.Manifests[0].MediaType
	}
	if d.Validate() != nil || d.Algorithm() != digests.SHA256 {
		http.NotFound(w, req)
		return
	}
	f, err := os.Open(blob(dir, d))
	if errors.Is(err, fs.ErrNotExist) {
		http.NotFound(w, req)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Docker-Content-Digest", d.String())
	http.ServeContent(w, req, "", info.ModTime(), f)
}
