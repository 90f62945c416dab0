package publish

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ssebridgev1 "github.com/ssebridge/ssebridge/gen/ssebridge/v1"
)

// TestTurns: after so many events a call waits for its turn, in the middle of a message as well as between two.
func TestTurns(t *testing.T) {
	t.Parallel()
	for name, messages := range map[string][]int{"one message": {3 * turn}, "small messages": {turn - 1, 1, turn, turn - 2, 2}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service := benchService()
				service.turns = make(turns, 1)
				log := service.config.Log.(*instantLog) //nolint:forcetypeassert // benchService has made it
				begun := log.cursor.Seq
				in := service.intake(t.Context(), nil)
				ended := make(chan error, 1)
				service.turns <- struct{}{} // somebody else's
				go func() {
					for _, count := range messages {
						var events []*ssebridgev1.Event
						for range count {
							events = append(events, benchEvent())
						}
						if err := in.take(context.Background(), nil, events); err != nil {
							ended <- err
							return
						}
					}
					ended <- nil
				}()
				synctest.Wait()
				assert.Equal(t, begun+turn, log.cursor.Seq)
				<-service.turns
				require.NoError(t, <-ended)
				assert.Equal(t, begun+3*turn, log.cursor.Seq)
			})
		})
	}
}
