// Package call asks a web service one question: bounded answers, retries where a service asks for patience, and errors that say what the service said.
//
// Tokens travel in the headers of these requests. Neither headers nor bodies are ever part of an error, only what the service answered.
package call

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Defaults of a Client.
const (
	DefaultTries   = 3
	DefaultPause   = time.Second
	DefaultTimeout = 15 * time.Second
	MaxAnswer      = 1 << 20 // bytes

	maxPause = 30 * time.Second
)

// Client asks. The zero value uses the defaults.
type Client struct {
	HTTP    *http.Client
	Tries   int           // how often in all
	Pause   time.Duration // before the second try; doubles with each, and is spread by chance
	Timeout time.Duration // of one try
}

// Question is one request. A body that is not nil is sent as JSON.
type Question struct {
	Method string
	URL    string
	Header http.Header
	Body   any
	// Plain allows http to another machine: for services at addresses that never leave the host. Without it http is for loopback only.
	Plain bool
}

// Error is a service's refusal.
type Error struct {
	Host    string
	Status  int
	Code    string // the service's own, empty when it gave none
	Message string // one line, at most 512 bytes
}

func (e *Error) Error() string {
	said := e.Message
	if e.Code != "" {
		said = strings.TrimSuffix(e.Code+": "+e.Message, ": ")
	}
	if said == "" {
		said = "no reason given"
	}
	return fmt.Sprintf("%s answered %d: %s", e.Host, e.Status, said)
}

// JSON asks and reads the answer's body into out, which may be nil, or a *[]byte for the body as it is.
func (c *Client) JSON(ctx context.Context, q Question, out any) error {
	u, err := url.Parse(q.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("ask %.128q: want an http or https URL", q.URL)
	}
	if u.Scheme == "http" && !q.Plain && !loopback(u.Hostname()) {
		return fmt.Errorf("ask %.128q: want https: what is sent and answered would be anybody's to read and change", u.Host)
	}
	var body []byte
	if q.Body != nil {
		if body, err = json.Marshal(q.Body); err != nil {
			return fmt.Errorf("ask %s: %w", u.Host, err)
		}
	}
	tries := c.Tries
	if tries <= 0 {
		tries = DefaultTries
	}
	for try := 1; ; try++ {
		answer, after, err := c.once(ctx, q, u, body)
		if err == nil {
			return read(u.Host, answer, out)
		}
		if try == tries || !again(err) || ctx.Err() != nil {
			return err
		}
		if err := c.wait(ctx, try, after); err != nil {
			return err
		}
	}
}

// once is one try; after is how long the service asks to be left alone.
func (c *Client) once(ctx context.Context, q Question, u *url.URL, body []byte) (answer []byte, after time.Duration, err error) {
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, q.Method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, 0, fmt.Errorf("ask %s: %w", u.Host, err)
	}
	for name, values := range q.Header {
		r.Header[http.CanonicalHeaderKey(name)] = values
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	response, err := c.client().Do(r)
	if err != nil {
		return nil, 0, transport(u.Host, err)
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(response.Body, MaxAnswer+1))
	if err != nil {
		return nil, 0, transport(u.Host, err)
	}
	if len(answer) > MaxAnswer {
		return nil, 0, fmt.Errorf("%s answered more than %d bytes", u.Host, MaxAnswer)
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return nil, retryAfter(response.Header), refusal(u.Host, response.StatusCode, answer)
	}
	return answer, 0, nil
}

// client is the caller's, but for redirects: a service that sends us elsewhere, with our tokens, is none of those that were asked.
func (c *Client) client() *http.Client {
	client := http.Client{}
	if c.HTTP != nil {
		client = *c.HTTP
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// transportError is a try that got no answer.
type transportError struct {
	host string
	err  error
}

func (e *transportError) Error() string { return fmt.Sprintf("ask %s: %v", e.host, e.err) }
func (e *transportError) Unwrap() error { return e.err }

// transport leaves out the URL, whose query may hold what is nobody's business.
func transport(host string, err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return &transportError{host, err}
}

// again tells errors that may pass.
func again(err error) bool {
	var refused *Error
	if errors.As(err, &refused) {
		return refused.Status == http.StatusRequestTimeout || refused.Status == http.StatusTooManyRequests || refused.Status >= 500 && refused.Status != http.StatusNotImplemented
	}
	var lost *transportError
	return errors.As(err, &lost)
}

func (c *Client) wait(ctx context.Context, try int, after time.Duration) error {
	pause := c.Pause
	if pause <= 0 {
		pause = DefaultPause
	}
	pause <<= try - 1
	pause = min(pause/2+rand.N(pause), maxPause)
	if after > 0 {
		pause = min(after, maxPause)
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// retryAfter reads a number of seconds; a date is as good as nothing, for clocks differ.
func retryAfter(h http.Header) time.Duration {
	n, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || n < 0 || n > 3600 {
		return 0
	}
	return time.Duration(n) * time.Second
}

func read(host string, answer []byte, out any) error {
	if out == nil {
		return nil
	}
	if raw, ok := out.(*[]byte); ok {
		*raw = answer
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s answered what is not the document it should be: %w", host, err)
	}
	return nil
}

// refusal finds the reason in the two forms that these services have.
func refusal(host string, status int, answer []byte) *Error {
	e := &Error{Host: host, Status: status}
	var body struct {
		Error       json.RawMessage `json:"error"`
		Description string          `json:"error_description"`
	}
	if json.Unmarshal(answer, &body) != nil {
		return e
	}
	var inner struct {
		Code, Message string
		InnerError    struct{ Code string }
	}
	if json.Unmarshal(body.Error, &inner) == nil {
		e.Code, e.Message = line(inner.Code), line(inner.Message)
		if inner.InnerError.Code != "" {
			e.Code += "/" + line(inner.InnerError.Code)
		}
		return e
	}
	var code string
	if json.Unmarshal(body.Error, &code) == nil {
		e.Code, e.Message = line(code), line(body.Description)
	}
	return e
}

// line is somebody else's text on one line of ours.
func line(s string) string {
	const most = 512
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}
