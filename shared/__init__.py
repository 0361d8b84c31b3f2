"""What more than one service needs: contracts, settings, the database, the queue, the store."""
