package sandbox

import "context"

// LoadFragment lets the policy judge a signed document. It takes its turn like everything that changes state: the candidates of a container
// do not grow while that container is being made.
func (s *Sandbox) LoadFragment(ctx context.Context, message string, document []byte, mediaType string) error {
	return s.change(ctx, func(ctx context.Context) error {
		return s.cfg.Gate.LoadFragment(ctx, message, document, mediaType)
	})
}
