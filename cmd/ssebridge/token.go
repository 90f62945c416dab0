package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"github.com/ssebridge/ssebridge/auth/token"
)

func newTokenCommand() *cobra.Command {
	var (
		path   string
		claims string
		grant  token.Grant
	)
	cmd := &cobra.Command{
		Use:   "token --sub SUBJECT",
		Short: "Make a token for development",
		Long: `Print a token for development and tests, signed with the key in --key. The key is made where it is missing, and its public
part beside it: name that file as jwks_file of an issuer in the configuration, whose url is --iss. Who has the key can make
any token, so use it where nothing has to be protected.`,
		Example: `  ssebridge token --sub alice --claims '{"shops":["7"]}'
  curl -N -H "Authorization: Bearer $(ssebridge token --sub alice)" 'http://localhost:8080/v1/events?topic=news'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if grant.Claims, err = parseClaims(claims); err != nil {
				return fmt.Errorf(`--claims: %w: use a JSON object such as {"shops":["7"]}`, err)
			}
			key, err := developmentKey(path, cmd.ErrOrStderr())
			if err != nil {
				return fmt.Errorf("--key: %w", err)
			}
			minted, err := key.Mint(grant)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), minted)
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&path, "key", "ssebridge-dev.jwk", "file with the private key; made where it is missing")
	flags.StringVar(&grant.Issuer, "iss", "https://dev.ssebridge.example", "issuer, the url of an issuer in the configuration")
	flags.StringVar(&grant.Subject, "sub", "", "subject: who the token is for")
	flags.StringSliceVar(&grant.Audience, "aud", []string{"ssebridge"}, "audience; repeatable")
	flags.DurationVar(&grant.Lifetime, "lifetime", time.Hour, "until the token expires")
	flags.StringVar(&claims, "claims", "", `other claims, a JSON object such as {"shops":["7"]}`)
	_ = cmd.MarkFlagRequired("sub") // fails for an unknown flag only
	return cmd
}

// parseClaims reads a JSON object, or nothing. Values stay as they are written: large numbers keep their digits.
func parseClaims(text string) (map[string]any, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // no claims are none
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &values); err != nil {
		return nil, err
	}
	claims := make(map[string]any, len(values))
	for name, value := range values {
		claims[name] = value
	}
	return claims, nil
}

// developmentKey reads a key, or makes it and says so to notes.
func developmentKey(path string, notes io.Writer) (*token.Key, error) {
	key, err := token.LoadKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if key, err = token.GenerateKey(path); err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(notes, "ssebridge: made the key %s; its public part, for jwks_file, is %s\n", path, token.PublicPath(path))
	return key, err
}
