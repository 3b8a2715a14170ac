package boot

import (
	"context"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloister-cc/cloister/agent/api"
)

// bigAgent answers with as much as it is told to.
type bigAgent struct {
	fakeAgent
	size int
}

func (a *bigAgent) ReadStdout(context.Context, *api.ReadStreamRequest) (*api.ReadStreamResponse, error) {
	return &api.ReadStreamResponse{Data: make([]byte, a.size)}, nil
}

func (a *bigAgent) GetMetrics(context.Context, *api.GetMetricsRequest) (*api.Metrics, error) {
	return &api.Metrics{Metrics: string(make([]byte, a.size))}, nil
}

func (a *bigAgent) GetDiagnosticData(context.Context, *api.GetDiagnosticDataRequest) (*api.GetDiagnosticDataResponse, error) {
	return &api.GetDiagnosticDataResponse{Data: string(make([]byte, a.size))}, nil
}

// An answer that is too large for its method is never decoded.
func TestAnswersAreBounded(t *testing.T) {
	calls := map[string]func(*Client) error{
		"ReadStdout": func(c *Client) error {
			_, err := c.ReadStdout(testContext(t), &api.ReadStreamRequest{Len: readSize})
			return err
		},
		"GetMetrics": func(c *Client) error {
			_, err := c.GetMetrics(testContext(t), &api.GetMetricsRequest{})
			return err
		},
		"GetDiagnosticData": func(c *Client) error {
			_, err := c.GetDiagnosticData(testContext(t), &api.GetDiagnosticDataRequest{})
			return err
		},
	}
	for _, tc := range []struct {
		method string
		size   int
		want   codes.Code
	}{
		{"ReadStdout", 256 << 10, codes.OK},
		{"ReadStdout", 300 << 10, codes.ResourceExhausted},
		{"GetMetrics", 60 << 10, codes.OK},
		{"GetMetrics", 65 << 10, codes.ResourceExhausted},
		{"GetDiagnosticData", 1 << 20, codes.OK},
	} {
		a := &bigAgent{size: tc.size}
		c := NewClient(serveAgent(t, a)())
		if err := calls[tc.method](c); status.Code(err) != tc.want {
			t.Errorf("%s with %d bytes: got %v, want %v", tc.method, tc.size, err, tc.want)
		}
		c.Close()
	}
}
