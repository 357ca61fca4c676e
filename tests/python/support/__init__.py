"""What tests of several folders share: projects, servers, samples and things that misbehave."""
