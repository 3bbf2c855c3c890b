package api

import (
	"context"

	"lockplate/api/wire"
	"lockplate/keymgr"
)

// createKeyPair makes the key pair that key servers know the cluster by.
func (s *Server) createKeyPair(ctx context.Context, _ identity, p *wire.CreatePublicPrivateKeyPairParams) (wire.Empty, error) {
	return wire.Empty{}, s.cluster.CreateKeyPair(ctx, keymgr.Subject(*p))
}

// getSignRequest gives the same request until there is another key pair.
func (s *Server) getSignRequest(ctx context.Context, _ identity, _ *wire.Empty) (wire.GetClientCertificateSignRequestResult, error) {
	pem, err := s.cluster.SigningRequest(ctx)
	return wire.GetClientCertificateSignRequestResult{SignRequest: pem}, err
}

// createKeyServer records a key server, which need not exist.
func (s *Server) createKeyServer(ctx context.Context, _ identity, p *wire.CreateKeyServerKmipParams) (wire.KeyServerResult, error) {
	k := keymgr.KeyServer{
		Name: p.Name, Hostnames: p.Hostnames, CACertificate: p.CACertificate, ClientCertificate: p.ClientCertificate,
	}
	if p.Port != nil {
		if err := checkPort(*p.Port); err != nil {
			return wire.KeyServerResult{}, err
		}
		k.Port = int(*p.Port)
	}
	if err := checkHosts(p.Hostnames); err != nil {
		return wire.KeyServerResult{}, err
	}
	k, err := s.cluster.CreateKeyServer(ctx, k)
	return wire.KeyServerResult{KeyServer: keyServerShape(k)}, err
}

// checkPort refuses what no TCP port can be; 0 would stand for the default.
func checkPort(n wire.Int) error {
	if n < 1 || n > 65535 {
		return fail(wire.ErrInvalidParameter, "kmipKeyServerPort: %d is not from 1 to 65535", n)
	}
	return nil
}

// checkHosts refuses a key server that is nowhere.
func checkHosts(hosts []string) error {
	if len(hosts) == 0 {
		return fail(wire.ErrInvalidParameter, "kmipKeyServerHostnames: must not be empty")
	}
	return nil
}

// modifyKeyServer changes a key server once it was seen to work that way.
func (s *Server) modifyKeyServer(ctx context.Context, _ identity, p *wire.ModifyKeyServerKmipParams) (wire.KeyServerResult, error) {
	c := keymgr.KeyServerChange{
		Name: p.Name, Port: (*int)(nil), CACertificate: p.CACertificate, ClientCertificate: p.ClientCertificate,
	}
	if p.Port != nil {
		if err := checkPort(*p.Port); err != nil {
			return wire.KeyServerResult{}, err
		}
		port := int(*p.Port)
		c.Port = &port
	}
	if p.Hostnames != nil {
		if err := checkHosts(*p.Hostnames); err != nil {
			return wire.KeyServerResult{}, err
		}
		c.Hostnames = *p.Hostnames
	}
	k, err := s.cluster.ModifyKeyServer(ctx, int64(p.KeyServerID), c)
	return wire.KeyServerResult{KeyServer: keyServerShape(k)}, err
}

// deleteKeyServer forgets a key server.
func (s *Server) deleteKeyServer(ctx context.Context, _ identity, p *wire.KeyServerIDParams) (wire.Empty, error) {
	return wire.Empty{}, s.cluster.DeleteKeyServer(ctx, int64(p.KeyServerID))
}

// getKeyServer describes one key server.
func (s *Server) getKeyServer(ctx context.Context, _ identity, p *wire.KeyServerIDParams) (wire.KeyServerResult, error) {
	k, err := s.cluster.KeyServer(ctx, int64(p.KeyServerID))
	return wire.KeyServerResult{KeyServer: keyServerShape(k)}, err
}

// listKeyServers lists the key servers that pass every filter.
func (s *Server) listKeyServers(ctx context.Context, _ identity, p *wire.ListKeyServersKmipParams) (wire.ListKeyServersKmipResult, error) {
	out := wire.ListKeyServersKmipResult{KeyServers: []wire.KeyServerKmip{}}
	all, err := s.cluster.KeyServers(ctx)
	for _, k := range all {
		if p.KeyProviderID != nil && int64(*p.KeyProviderID) != k.ProviderID ||
			!agrees(p.ProviderIsActive, k.Active) || !agrees(p.HasProvider, k.ProviderID != 0) {
			continue
		}
		out.KeyServers = append(out.KeyServers, keyServerShape(k))
	}
	return out, err
}

// agrees says whether a filter that may be absent lets v pass.
func agrees(filter *bool, v bool) bool { return filter == nil || *filter == v }

// testKeyServer proves reach, trust and function; the error names the step
// that failed.
func (s *Server) testKeyServer(ctx context.Context, _ identity, p *wire.KeyServerIDParams) (wire.Empty, error) {
	return wire.Empty{}, s.cluster.TestKeyServer(ctx, int64(p.KeyServerID))
}

// createKeyProvider records a provider: inactive, without servers.
func (s *Server) createKeyProvider(ctx context.Context, _ identity, p *wire.CreateKeyProviderKmipParams) (wire.KeyProviderResult, error) {
	k, err := s.cluster.CreateKeyProvider(ctx, p.Name)
	return wire.KeyProviderResult{KeyProvider: keyProviderShape(k)}, err
}

// deleteKeyProvider forgets a provider that holds no keys.
func (s *Server) deleteKeyProvider(ctx context.Context, _ identity, p *wire.KeyProviderIDParams) (wire.Empty, error) {
	return wire.Empty{}, s.cluster.DeleteKeyProvider(ctx, int64(p.KeyProviderID))
}

// getKeyProvider describes one provider.
func (s *Server) getKeyProvider(ctx context.Context, _ identity, p *wire.KeyProviderIDParams) (wire.KeyProviderResult, error) {
	k, err := s.cluster.KeyProvider(ctx, int64(p.KeyProviderID))
	return wire.KeyProviderResult{KeyProvider: keyProviderShape(k)}, err
}

// listKeyProviders lists the providers that pass every filter.
func (s *Server) listKeyProviders(ctx context.Context, _ identity, p *wire.ListKeyProvidersKmipParams) (wire.ListKeyProvidersKmipResult, error) {
	out := wire.ListKeyProvidersKmipResult{KeyProviders: []wire.KeyProviderKmip{}}
	all, err := s.cluster.KeyProviders(ctx)
	for _, k := range all {
		if agrees(p.IsActive, k.Active) && agrees(p.HasServer, len(k.ServerIDs) > 0) {
			out.KeyProviders = append(out.KeyProviders, keyProviderShape(k))
		}
	}
	return out, err
}

// testKeyProvider proves every server of a provider.
func (s *Server) testKeyProvider(ctx context.Context, _ identity, p *wire.KeyProviderIDParams) (wire.Empty, error) {
	return wire.Empty{}, s.cluster.TestKeyProvider(ctx, int64(p.KeyProviderID))
}

// addServerToProvider puts a server that works into a provider.
func (s *Server) addServerToProvider(ctx context.Context, _ identity, p *wire.AddKeyServerToProviderKmipParams) (wire.Empty, error) {
	return wire.Empty{}, s.cluster.AddServerToProvider(ctx, int64(p.KeyProviderID), int64(p.KeyServerID))
}

// removeServer takes a server out of whatever provider it is in.
func (s *Server) removeServer(ctx context.Context, _ identity, p *wire.KeyServerIDParams) (wire.Empty, error) {
	return wire.Empty{}, s.cluster.RemoveServerFromProvider(ctx, int64(p.KeyServerID))
}

// keyServerShape gives a key server as Element has it.
func keyServerShape(k keymgr.KeyServer) wire.KeyServerKmip {
	out := wire.KeyServerKmip{
		KeyServerID: k.ID, Name: k.Name, Hostnames: list(k.Hostnames), Port: k.Port,
		CACertificate: k.CACertificate, ClientCertificate: k.ClientCertificate,
	}
	if k.ProviderID != 0 {
		out.KeyProviderID, out.ProviderIsActive = &k.ProviderID, &k.Active
	}
	return out
}

// keyProviderShape gives a provider as Element has it.
func keyProviderShape(k keymgr.KeyProvider) wire.KeyProviderKmip {
	return wire.KeyProviderKmip{
		KeyProviderID: k.ID, Name: k.Name, IsActive: k.Active, KeyServerIDs: list(k.ServerIDs), Capabilities: k.Capabilities,
	}
}
