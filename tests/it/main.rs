mod permits;
