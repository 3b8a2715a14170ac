package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"path"
	"strings"
	"time"
)

// pace is how slow an answer may be: each least bytes of it may be waited for so long. The time in which nobody reads does
// not count.
type pace struct {
	window time.Duration
	least  int64
}

// everything is the least of a pace in which the whole answer, from the request on, has one window.
const everything = math.MaxInt64

// paceOf gives layers time as long as they come; manifests, tokens, configurations and signatures are small.
func paceOf(_ string, layer bool) pace {
	if layer {
		return pace{window: 2 * time.Minute, least: 64 << 10}
	}
	return pace{window: time.Minute, least: everything}
}

// slowError says which answer came too slowly. To the code that tries again it is a time-out.
type slowError struct {
	host string // "registry.example", with where it redirected to
	what string // "manifest 1.27"
	pace pace
	got  int64 // bytes of the answer
}

func (e *slowError) Error() string {
	want := "all of it"
	if e.pace.least != everything {
		want = fmt.Sprintf("%d bytes more", e.pace.least)
	}
	return fmt.Sprintf("registry %s: %s: too slow: got %d bytes, then not %s within %s (try again later, or take the image from elsewhere with --mirror, --images or --tar)",
		quote(e.host), e.what, e.got, want, e.pace.window)
}

func (e *slowError) Timeout() bool   { return true }
func (e *slowError) Temporary() bool { return false } // the registry client would ask again by itself

// layerKey is the context's key of the digest of a layer that is being read: only that answer may take as long as it comes.
type layerKey struct{}

// open begins to read a layer's stored bytes.
func (l layerBlob) open(ctx context.Context) (io.ReadCloser, error) {
	return l.from.open(context.WithValue(ctx, layerKey{}, l.blob.Digest.String()), l.blob)
}

// asked tells what a request is for, by the one that began its redirects, and whether that is the layer being read.
func asked(req *http.Request) (host, what string, layer bool) {
	first := req
	for first.Response != nil && first.Response.Request != nil {
		first = first.Response.Request
	}
	host = first.URL.Host
	if req.URL.Host != host {
		host += ", redirected to " + req.URL.Host
	}
	p := first.URL.Path
	name := quote(path.Base(p))
	switch {
	case strings.Contains(p, "/manifests/"):
		return host, "manifest " + name, false
	case strings.Contains(p, "/referrers/"):
		return host, "referrers of " + name, false
	case strings.Contains(p, "/blobs/"):
		digest, ok := req.Context().Value(layerKey{}).(string)
		return host, "blob " + name, ok && digest == path.Base(p)
	case strings.Trim(p, "/") == "v2":
		return host, "its first answer", false
	}
	return host, "token", false
}

// watched is an answer, from its request on, whose request ends when it comes too slowly.
type watched struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	slow   slowError
	waited time.Duration // in this window
	got    int64         // in this window
}

// watch makes a request's end depend on its pace.
func watch(req *http.Request, limit func(what string, layer bool) pace) (*watched, *http.Request) {
	host, what, layer := asked(req)
	ctx, cancel := context.WithCancelCause(req.Context())
	w := &watched{ctx: ctx, cancel: cancel, slow: slowError{host: host, what: what, pace: limit(what, layer)}}
	return w, req.WithContext(ctx)
}

// during waits for some of the answer.
func (w *watched) during(wait func() (int, error)) (int, error) {
	slow, begin := w.slow, time.Now()
	timer := time.AfterFunc(slow.pace.window-w.waited, func() { w.cancel(&slow) })
	n, err := wait()
	timer.Stop()
	w.slow.got += int64(n)
	w.got += int64(n)
	w.waited += time.Since(begin)
	switch {
	case err == nil && w.waited >= slow.pace.window:
		err = &slow
	case err == nil && w.got >= slow.pace.least:
		w.got, w.waited = 0, 0
	case err != nil && !errors.Is(err, io.EOF) && context.Cause(w.ctx) == error(&slow):
		err = &slow // in place of what the transport calls it
	}
	if err != nil {
		w.cancel(nil)
	}
	return n, err
}

func (w *watched) Read(p []byte) (int, error) {
	return w.during(func() (int, error) { return w.ReadCloser.Read(p) })
}

func (w *watched) Close() error {
	w.cancel(nil)
	return w.ReadCloser.Close()
}
