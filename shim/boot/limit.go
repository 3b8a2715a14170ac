package boot

import (
	"context"
	"path"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// maxAnswer is what an answer of the guest may take before it is decoded, in bytes. A decoded message may be many times as large.
	maxAnswer = 64 << 10
	// answerSlack is what an answer may have beside its data.
	answerSlack = 4 << 10
)

// maxAnswers are the limits of answers that carry data. Evidence, explanations and logs of cloister.v1 go to the user's tools as they are: one field, which ttrpc
// bounds already.
var maxAnswers = map[string]int{
	"ReadStdout": 256<<10 + answerSlack, "ReadStderr": 256<<10 + answerSlack,
	"Evidence": 4 << 20, "Explain": 4 << 20, "Logs": 4 << 20,
	"GetDiagnosticData": 4 << 20,
}

func maxAnswerOf(method string) int {
	if n, ok := maxAnswers[path.Base(method)]; ok {
		return n
	}
	return maxAnswer
}

// bounded refuses answers that are larger than their method's limit, before they are decoded. It comes last, next to the connection, so that nobody before it
// sees them.
func bounded() ttrpc.ClientOpts {
	return ttrpc.WithChainUnaryClientInterceptor(
		func(ctx context.Context, req *ttrpc.Request, resp *ttrpc.Response, info *ttrpc.UnaryClientInfo, call ttrpc.Invoker) error {
			if err := call(ctx, req, resp); err != nil {
				return err
			}
			if got, want := len(resp.Payload), maxAnswerOf(info.FullMethod); got > want {
				resp.Payload = nil
				return status.Errorf(codes.ResourceExhausted, "answer of the agent to %s: got %d bytes, want at most %d", path.Base(info.FullMethod), got, want)
			}
			return nil
		})
}
