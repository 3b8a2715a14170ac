package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/fragment"
)

// Limits of what is read of recorded requests: the user's own files, so only accidents are kept out.
const (
	maxRequests    = 1 << 30
	maxRequestLine = 64 << 20
	maxFragment    = 64 << 20
)

// request is one recorded request to a policy.
type request struct {
	Name enforcer.Point
	// Input is nil when there is no such point, and for a fragment that is given whole.
	Input enforcer.Input
	// Fragment is a fragment as it is delivered, with its media type; empty means a Rego fragment.
	Fragment  []byte
	MediaType string
	// File is where a fragment came from, if it was named on the command line.
	File string
}

// wireRequest is the form of a request in a file.
type wireRequest struct {
	Name  string          `json:"name"`
	Input json.RawMessage `json:"input"`
}

// wireFragment is the input of load_fragment and load_transparency_trust_list: the document itself, because what it says is what the
// policy is asked about.
type wireFragment struct {
	Path      string  `json:"path"`
	LocalPath string  `json:"local_path"` // the same, as other tools write it
	Base64    *string `json:"fragment_base64"`
	MediaType string  `json:"media_type"`
	// What the document says of itself, to be held against it.
	Issuer    *string `json:"issuer"`
	Feed      *string `json:"feed"`
	Namespace *string `json:"namespace"`
}

// requestError says which request of which file is wrong, and where.
type requestError struct {
	file  string
	line  int
	index int // -1 for the file itself
	err   error
}

func (e *requestError) Error() string {
	if e.index < 0 {
		return fmt.Sprintf("%q line %d: %v", e.file, e.line, e.err)
	}
	return fmt.Sprintf("%q line %d: request %d: %v", e.file, e.line, e.index, e.err)
}

func (e *requestError) Unwrap() error { return e.err }

// eachRequest calls do for every request of a file in order. A JSON list is read and checked whole before the first call; JSON
// lines (and only they can be endless) are handled one by one as they arrive.
func eachRequest(file string, stdin io.Reader, do func(request) error) error {
	r := stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		r = f
	}
	lines := bufio.NewReaderSize(r, 64<<10)
	index := 0
	for number := 1; ; number++ {
		line, err := readLine(lines)
		if err != nil && !errors.Is(err, io.EOF) {
			return &requestError{file, number, -1, err}
		}
		last := err != nil
		switch text := bytes.TrimSpace(line); {
		case len(text) > 0 && text[0] == '[' && index == 0:
			rest, err := io.ReadAll(io.LimitReader(lines, maxRequests))
			if err != nil {
				return err
			}
			return eachOfList(file, number, append(line, rest...), do)
		case len(text) > 0:
			value := &valueLines{lines: lines, first: line}
			req, err := value.parse()
			if err == nil {
				err = do(req)
			} else {
				err = &requestError{file, number + lineOf(value.text, offsetOf(err)) - 1, index, err}
			}
			if err != nil {
				return err
			}
			last = last || value.ended
			number += value.more
			index++
		}
		if last {
			return nil
		}
	}
}

// valueLines reads one request that begins in a line, and the lines after it only where it is not complete: whoever sent a
// complete one waits for its answer.
type valueLines struct {
	lines *bufio.Reader
	first []byte
	// text is all that was read, more the number of lines after the first.
	text  []byte
	more  int
	ended bool
	rest  []byte
}

func (v *valueLines) Read(p []byte) (int, error) {
	if len(v.rest) == 0 && v.text == nil {
		v.text, v.rest = v.first, v.first
	} else if len(v.rest) == 0 {
		if v.ended {
			return 0, io.EOF
		}
		line, err := readLine(v.lines)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		v.ended = err != nil
		// A line that begins a request of its own says that the one before it is broken.
		if bytes.HasPrefix(line, []byte("{")) || len(v.text)+len(line) > maxRequestLine {
			return 0, io.ErrUnexpectedEOF
		}
		v.text, v.rest, v.more = append(v.text, line...), line, v.more+1
		if len(line) == 0 {
			return 0, io.EOF
		}
	}
	n := copy(p, v.rest)
	v.rest = v.rest[n:]
	return n, nil
}

func (v *valueLines) parse() (request, error) {
	if !bytes.HasPrefix(bytes.TrimSpace(v.first), []byte("{")) {
		v.text = v.first
		return parseRequest(v.text)
	}
	var raw json.RawMessage
	// What is wrong is said by parseRequest, of all that belongs to the request.
	_ = json.NewDecoder(v).Decode(&raw)
	v.text = bytes.TrimRight(v.text, "\r\n")
	return parseRequest(v.text)
}

func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxRequestLine:
			return nil, fmt.Errorf("a line of more than %d bytes", maxRequestLine)
		case !errors.Is(err, bufio.ErrBufferFull):
			return line, err
		}
	}
}

// eachOfList handles a JSON list that begins in the given line of its file.
func eachOfList(file string, first int, doc []byte, do func(request) error) error {
	var list []request
	fail := func(index int, offset int64, err error) error {
		return &requestError{file, first + lineOf(doc, offset) - 1, index, err}
	}
	c := &shapeCheck{doc: doc, dec: json.NewDecoder(bytes.NewReader(doc))}
	if _, err := c.dec.Token(); err != nil {
		return fail(-1, 0, err)
	}
	for c.dec.More() {
		at := c.next()
		var raw json.RawMessage
		if err := c.syntax(c.dec.Decode(&raw), at); err != nil {
			return fail(len(list), offsetOf(err), err)
		}
		req, err := parseRequest(raw)
		if err != nil {
			return fail(len(list), at+offsetOf(err), err)
		}
		list = append(list, req)
	}
	if err := c.end(); err != nil {
		return fail(-1, offsetOf(err), err)
	}
	if at := c.next(); at < int64(len(doc)) {
		return fail(-1, at, errors.New("more data after the list"))
	}
	for _, req := range list {
		if err := do(req); err != nil {
			return err
		}
	}
	return nil
}

func offsetOf(err error) int64 {
	var shape *shapeError
	if errors.As(err, &shape) {
		return shape.offset
	}
	return 0
}

// readRequests returns all requests of a file: a JSON list, JSON lines, or one JSON object over any number of lines.
func readRequests(file string, stdin io.Reader) ([]request, error) {
	data, err := readInput(file, stdin, maxRequests)
	if err != nil {
		return nil, err
	}
	if text := bytes.TrimSpace(data); len(text) > 0 && text[0] == '{' && json.Valid(text) {
		req, err := parseRequest(data)
		if err != nil {
			return nil, &requestError{file, lineOf(data, offsetOf(err)), 0, err}
		}
		return []request{req}, nil
	}
	var list []request
	err = eachRequest("-", bytes.NewReader(data), func(r request) error {
		list = append(list, r)
		return nil
	})
	var where *requestError
	if errors.As(err, &where) {
		where.file = file
	}
	return list, err
}

// parseRequest reads one request. Offsets in its errors are those in raw.
func parseRequest(raw []byte) (request, error) {
	if err := checkShape(raw, reflect.TypeFor[wireRequest]()); err != nil {
		return request{}, err
	}
	var wire wireRequest
	if err := json.Unmarshal(raw, &wire); err != nil {
		return request{}, err
	}
	if wire.Name == "" {
		return request{}, errors.New("no name of an enforcement point given")
	}
	req := request{Name: enforcer.Point(wire.Name)}
	if len(wire.Input) == 0 || bytes.Equal(wire.Input, []byte("null")) {
		wire.Input = json.RawMessage("{}")
	}
	err := req.fill(wire.Input)
	// The error's place is that in the request, and its path begins there.
	var shape *shapeError
	if errors.As(err, &shape) {
		if at := bytes.Index(raw, wire.Input); at >= 0 {
			shape.offset += int64(at)
		}
		if shape.path = "input." + shape.path; shape.path == "input." {
			shape.path = "input"
		}
	}
	return req, err
}

func (r *request) fill(input []byte) error {
	empty, err := enforcer.DecodeInput(r.Name, []byte("{}"))
	if err != nil {
		return nil // there is no such point: an answer, not broken input
	}
	if r.takesFragment() {
		return r.fillFragment(input)
	}
	if err := checkShape(input, reflect.TypeOf(empty)); err != nil {
		return err
	}
	if r.Input, err = enforcer.DecodeInput(r.Name, input); err == nil {
		r.agentPaths(input)
	}
	return err
}

// The agent's own names: a request is held against them, and they are no choice of the host's (policy contract, section 2.3).
const (
	layerPaths   = "/run/mounts/scsi/m[0-9]+"
	rwPaths      = "/run/gcs/c/[0-9a-fA-F]{64}"
	plan9Root    = "/run/gcs/c"
	plan9Targets = "/mounts/m[0-9]+"
)

// agentPaths fills in what the agent adds to a request, where the request does not name it.
func (r *request) agentPaths(input []byte) {
	var keys map[string]json.RawMessage
	if json.Unmarshal(input, &keys) != nil {
		return
	}
	fill := func(key string, to *string, value string) {
		if keys[key] == nil {
			*to = value
		}
	}
	switch in := r.Input.(type) {
	case enforcer.MountDeviceInput:
		fill("mountPathRegex", &in.MountPathRegex, layerPaths)
		r.Input = in
	case enforcer.RWMountDeviceInput:
		fill("mountPathRegex", &in.MountPathRegex, rwPaths)
		r.Input = in
	case enforcer.Plan9MountInput:
		fill("rootPrefix", &in.RootPrefix, plan9Root)
		fill("mountPathPrefix", &in.MountPathPrefix, plan9Targets)
		r.Input = in
	}
}

func (r *request) takesFragment() bool {
	return r.Name == enforcer.PointLoadFragment || r.Name == enforcer.PointLoadTransparencyTrustList
}

// trustListType is the media type of transparency trust lists (policy contract, section 2.6).
const trustListType = "application/vnd.transparency-trust-list.v1+cose"

func (r *request) fillFragment(input []byte) error {
	if err := checkShape(input, reflect.TypeFor[wireFragment]()); err != nil {
		return err
	}
	var wire wireFragment
	if err := json.Unmarshal(input, &wire); err != nil {
		return err
	}
	if wire.Path == "" {
		wire.Path = wire.LocalPath
	} else if wire.LocalPath != "" {
		return &shapeError{path: "local_path", text: "it is another name of path, and both are given"}
	}
	if (wire.Path == "") == (wire.Base64 == nil) {
		return &shapeError{text: "want one of path and fragment_base64: the signed document, whose issuer, feed and SVN the policy is asked about"}
	}
	r.MediaType = wire.MediaType
	if r.MediaType == "" && r.Name == enforcer.PointLoadTransparencyTrustList {
		r.MediaType = trustListType
	}
	if wire.Base64 != nil {
		data, err := base64.StdEncoding.DecodeString(*wire.Base64)
		if err != nil {
			return &shapeError{path: "fragment_base64", text: "not base64: " + err.Error()}
		}
		r.Fragment = data
		return wire.agree(data)
	}
	data, err := readFragment(wire.Path)
	if err != nil {
		return &shapeError{path: "path", text: err.Error()}
	}
	r.Fragment = data
	return wire.agree(data)
}

// agree refuses names beside a document that are not the document's: its own are what is decided about.
func (wire *wireFragment) agree(data []byte) error {
	f, err := fragment.Open(data)
	if err != nil {
		return nil // the answer says so
	}
	for _, said := range []struct {
		key  string
		want *string
		is   string
	}{{"issuer", wire.Issuer, f.Issuer}, {"feed", wire.Feed, f.Feed}, {"namespace", wire.Namespace, f.Namespace}} {
		if said.want != nil && *said.want != said.is {
			return &shapeError{path: said.key, text: fmt.Sprintf("got %.256q, and the document says %.256q", *said.want, said.is)}
		}
	}
	return nil
}

func readFragment(name string) ([]byte, error) {
	data, err := readInput(name, nil, maxFragment)
	if err == nil && data == nil {
		data = []byte{}
	}
	return data, err
}
